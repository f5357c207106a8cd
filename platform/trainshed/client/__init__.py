"""From job files to a running job: read, bind, check, plan, price, pack, hand over; the local cluster."""
