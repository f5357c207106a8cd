"""Which settings each trial of a sweep gets."""
