"""How the two images of a pair lie on each other: the command align, and what scan and adapt say.

gradients: what is compared of two images, as different as visible and thermal; models: what moves
points, and which of them held-out points ask for; estimate: one pair; rig: what all pairs of a set
have in common; planted: how far that can be trusted; command: all of it, pair by pair; twin: an
aligned copy of the data; sample: what a few pairs tell at a glance.
"""
