"""Trackers of experiments beside the Record: one process a tracker reads the Record and sends what is new.

The loop and the driver wait for none of it; what could not be sent is in the Record, and is sent later.
"""
