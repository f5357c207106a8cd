"""Models that exist already: located, verified, loaded; and the files of an export."""
