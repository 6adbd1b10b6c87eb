"""Reports: a sweep as plain data, and that data as a table, as pictures and as one page."""
