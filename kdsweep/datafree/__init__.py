"""Training images that a teacher is the source of: dreamt, or made while the student learns."""
