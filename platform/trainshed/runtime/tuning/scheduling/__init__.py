"""Which trials of a sweep go on, and when a whole sweep ends."""
