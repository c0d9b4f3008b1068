"""Records, the journal they are kept in, and the frames they become."""
