"""What any function of a table's columns does with them: interaction, and which columns change its answer."""
