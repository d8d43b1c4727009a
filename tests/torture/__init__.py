"""Tests that go on finding: a small whole experiment that is killed, damaged, starved and crowded, and judged.

`python -m tests.torture` runs all of it (`nox -s torture`); tests/test_torture.py runs a fast share. Every attempt has
a number, and `python -m tests.torture KIND --seed NUMBER --count 1` repeats it.
"""
