"""The parts an encoder is put together from: operator, link, prox, solver."""
