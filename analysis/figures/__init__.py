"""One figure a file. `draw` takes a run, or several, and gives a Picture, or None where it does not apply to them.

A figure that needs something which a run does not have raises a UserError that says how to make it.
"""
