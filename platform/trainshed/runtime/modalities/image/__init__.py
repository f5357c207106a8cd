"""Images: from the bytes of a file to what a vision model reads."""
