"""What a sample is made of: text and images, each with its reader and its collation."""
