"""The grammar of `stories`: its words and sentences, for data of one's own in the same world.

In a sentence {Hero} and {hero} are the heroes' names or their pronoun; {a|b} is singular or plural; {a|b|c}
her, his, their; {beast} the animal as the subject; {animal}, {place}, {thing} their names elsewhere.
"""

from __future__ import annotations

NEGATIVE, POSITIVE = 0, 1
"""Labels of a story's sentiment; tables of sentences have −1 and 1."""

PEOPLE = (
    ("Anna", "she"), ("Ben", "he"), ("Clara", "she"), ("David", "he"), ("Emma", "she"),
    ("Felix", "he"), ("Grace", "she"), ("Henry", "he"), ("Ida", "she"), ("Jack", "he"),
    ("Lucy", "she"), ("Max", "he"), ("Nora", "she"), ("Oscar", "he"), ("Rose", "she"),
    ("Tom", "he"),
)  # fmt: skip
"""Names, each with its pronoun."""

ANIMALS = ("dog", "cat", "horse", "bird", "goat", "rabbit", "mouse", "fox", "duck", "pony")
PLACES = (
    "garden", "forest", "river", "village", "market", "school", "castle", "harbour", "mountain",
    "farm", "library", "beach",
)  # fmt: skip
THINGS = (
    "lamp", "boat", "kite", "book", "basket", "letter", "clock", "key", "drum", "coat", "map",
    "cake",
)  # fmt: skip

ENTITIES = (*(name for name, _ in PEOPLE), *ANIMALS, *PLACES, *THINGS)
"""Every name that a story can mention; their numbers are `Stories.person`, `.animal`, `.place` and `.thing`."""

ENTITY_KINDS = (
    *("person" for _ in PEOPLE),
    *("animal" for _ in ANIMALS),
    *("place" for _ in PLACES),
    *("thing" for _ in THINGS),
)
"""Kind of each of them."""

BEGINNINGS = (
    "{Hero} lived near the {place} with a small {animal}.",
    "One day {Hero} went to the {place} with a {animal}.",
    "{Hero} had a {thing} and an old friend, a {animal}, at the {place}.",
    "Early in the morning {Hero} walked to the {place} to look for a {thing}.",
    "On a quiet evening {Hero} sat by the {place} and talked to the {animal}.",
    "{Hero} {was|were} on the way to the {place} to sell a {thing}.",
)
PLAIN = (
    "{Hero} carried the {thing} in both hands.",
    "The {beast} walked beside {her|him|them}.",
    "It was not far to the {place}, and {hero} {was|were} in no hurry.",
    "{Hero} {has|have} always known the {place}.",
    "The {beast} looked at the {thing}.",
    "{Hero} stopped and looked around.",
)
HAPPENINGS = {
    1: (
        "{hero} found the lost {thing} under a tree.",
        "a kind woman gave {her|him|them} a beautiful {thing}.",
        "the {beast} learned a funny trick and everybody laughed.",
        "{hero} won the first prize at the {place}.",
        "the sun came out and the {place} was full of music.",
        "{hero} repaired the {thing} and it was as good as new.",
        "old friends came to the {place} with sweet cakes.",
        "the {beast} came home safe and well.",
    ),
    -1: (
        "{hero} lost the {thing} in the dark.",
        "an angry man took the {thing} away from {her|him|them}.",
        "the {beast} fell ill and would not eat.",
        "{hero} broke the {thing} and cut {her|his|their} hand.",
        "a cold storm came and ruined the {place}.",
        "{hero} missed the last train and had to wait in the rain.",
        "thieves came to the {place} and burned the gate.",
        "the {beast} ran away and did not come back.",
    ),
}
"""Events by their sentiment, 1 or −1; what the heroes feel of them, and how a story ends, likewise."""

FEELINGS = {
    1: (
        "{Hero} {was|were} very happy.",
        "{Hero} smiled and danced with joy.",
        "{Hero} {feels|feel} proud of it to this day.",
        "The {beast} jumped with delight.",
        "{Hero} thanked everybody with a warm heart.",
        "{Hero} {was|were} glad and sang a cheerful song.",
    ),
    -1: (
        "{Hero} {was|were} very sad.",
        "{Hero} wept and trembled with fear.",
        "{Hero} {feels|feel} ashamed of it to this day.",
        "The {beast} howled with pain.",
        "{Hero} went away with a heavy heart.",
        "{Hero} {was|were} lonely and spoke a bitter word.",
    ),
}
CONNECTIVES = (
    "The next day",
    "A week later",
    "In the afternoon",
    "After the long winter",
    "That same night",
    "Some time later",
)
ENDINGS = {
    1: (
        "It was the best day of the year.",
        "In the end all was well.",
        "{Hero} {remembers|remember} the {place} with love.",
        "The {beast} slept in peace.",
    ),
    -1: (
        "It was the worst day of the year.",
        "In the end all was lost.",
        "{Hero} {remembers|remember} the {place} with grief.",
        "The {beast} slept in misery.",
    ),
}
PLURAL_SUBJECTS = ("old friends", "thieves")
"""Beginnings of sentences whose subject is neither the heroes nor singular."""
