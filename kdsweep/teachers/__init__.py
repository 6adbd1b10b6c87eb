"""Networks that exist before the students, and what they give for training images."""
