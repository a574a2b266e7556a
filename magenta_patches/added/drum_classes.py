"""The grid that loops lie on: sixteenths, bars, and Magenta's nine drums."""

STEPS_PER_QUARTER = 4
STEPS_PER_BAR = 16
BARS = 4  # Length of a loop.

# In the order of Magenta's maps of pitches, data.ROLAND_DRUM_PITCH_CLASSES and
# data.REDUCED_DRUM_PITCH_CLASSES (General MIDI's).
DRUM_CLASSES = ('kick', 'snare', 'closed hi-hat', 'open hi-hat', 'low tom',
                'mid tom', 'high tom', 'crash', 'ride')
(KICK, SNARE, CLOSED_HIHAT, OPEN_HIHAT, LOW_TOM, MID_TOM, HIGH_TOM, CRASH,
 RIDE) = range(len(DRUM_CLASSES))
