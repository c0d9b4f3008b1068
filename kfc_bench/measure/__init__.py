"""Clock, stopping rule, memory, correctness gate, roofline, environment."""
