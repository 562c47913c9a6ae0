"""What the twenty tasks ask for: pure functions from one View to its target, by the kind of label."""
