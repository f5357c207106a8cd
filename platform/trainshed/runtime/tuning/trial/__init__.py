"""One trial of a sweep: its process, its training, its resources."""
