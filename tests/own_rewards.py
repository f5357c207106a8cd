"""Reward functions as users write them, right and wrong."""

import math
import os
import sys
import time

import numpy as np


def length(prompt, answer, expected):
    """Longer answers are better."""
    return len(answer)


def exact(prompt, answer, expected):
    print("a reward may print")
    return 1.0 if answer == expected else 0.0


def of_numpy(prompt, answer, expected):
    return np.float32(0.5)


def raising(prompt, answer, expected):
    raise KeyError("no such answer")


def text(prompt, answer, expected):
    return "good"


def nothing(prompt, answer, expected):
    return None


def truth(prompt, answer, expected):
    return True


def nan(prompt, answer, expected):
    return math.nan


def endless(prompt, answer, expected):
    return math.inf


def hanging(prompt, answer, expected):
    time.sleep(600)


def leaving(prompt, answer, expected):
    sys.exit(3)


def environment(prompt, answer, expected):
    return float("A_SECRET" in os.environ)


def process(prompt, answer, expected):
    return os.getpid()
