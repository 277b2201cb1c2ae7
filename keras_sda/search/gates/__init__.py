"""Gates on channels: where they stand, what they cost, how they close."""
