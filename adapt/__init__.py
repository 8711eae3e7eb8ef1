"""Feature-regression domain adaptation with -SP regularisation.

A frozen teacher sees x1 (old domain), a student with the same architecture sees x2 (new domain,
same scene); the student's feature maps are regressed onto the teacher's (Benbihi, Geist, Pradalier
2018) while an -SP penalty (Li, Grandvalet, Davoine 2018) keeps its weights near their start.
"""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network
