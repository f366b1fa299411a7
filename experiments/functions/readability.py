"""The Flesch reading ease of a text: heavier than counting words, since every syllable is looked at."""

import re


def syllables(word):
    """The groups of vowels in ``word``, without a silent e at its end; at least one."""
    groups = len(re.findall(r"[aeiouy]+", word))
    return max(1, groups - (word.endswith("e") and not word.endswith("le")))


def code(ctx, payload):
    """The Flesch reading ease of ``payload``, rounded to a tenth."""
    sentences = max(1, len(re.findall(r"[.!?]+", payload)))
    words = re.findall(r"[a-z']+", payload.lower()) or ["a"]
    ease = 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words)
    return f"{ease:.1f}"
