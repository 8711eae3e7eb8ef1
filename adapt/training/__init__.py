"""The one loop, what goes into it and how it is resumed; the verdict of an adaptation."""
