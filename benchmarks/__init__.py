"""Speed and memory: each module is a program that prints a table of ratios. See README.md."""
