"""Targets of the twenty tasks: pure functions of one View, by kind of label."""
