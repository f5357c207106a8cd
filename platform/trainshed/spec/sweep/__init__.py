"""What a sweep may say: its space, searches, limits; which settings can be a trial."""
