"""One batch of jobs, from checks to records."""
