"""What the gradient comes from: terms over maps of teacher and student, and distances."""
