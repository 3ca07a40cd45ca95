"""Numbers as options take them, called what they are where one is wrong."""

import click


class Seconds(click.FloatRange):
    name = "number of seconds"


class Count(click.IntRange):
    name = "whole number"
