"""Suites: a matrix of pretraining cells and evaluation cells, run to its end and set beside what was published."""
