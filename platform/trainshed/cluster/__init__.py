"""What machines a cluster is made of and what they cost: a typed profile, and what follows from it for a plan."""
