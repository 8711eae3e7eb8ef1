"""What a training did to a network, layer by layer; Fisher information of a network."""
