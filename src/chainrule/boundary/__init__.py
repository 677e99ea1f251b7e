"""Where what a user gives comes in and what they take goes out: arrays, the checks and their words, files, pages."""
