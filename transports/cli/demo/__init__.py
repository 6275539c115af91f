"""`loom demo`: the main job on replies that were written in advance; everything else is real."""
