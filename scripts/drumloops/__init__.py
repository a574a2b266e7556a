"""What the commands in scripts/ and the notebook share.

From the ground up:

    grid                          bars, steps, drum classes and their pitches
    cli, disk, backend, stages    how anything here starts, stops and runs
    midi, loop_midi, sound        MIDI files in; loops out, as MIDI and sound
    data_splits, conversion       data
    runs, checkpoint_files, backup    what a run keeps, and where
    cluster                       training on several machines
    plots, page, given            pictures, the page of loops; what a musician gives
    grooves, autoencoder, latent, styles    loops in numbers; a model and its latent
    completing, varying, listening    what is given is kept; encoders that hear parts
    performing, takes             how hits are played; what differs from take to take
    training, humanizing, sampling, sharing    what is done with it
    metrics/    evaluation, completion, feel, style_classifier, telling_apart, reports
    web_page, magentajs           what runs in a browser (the code: scripts/web/)
    notebook                      what the notebook shows
"""
import os
import pathlib
import sys
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # For magenta_patches.

# Before TensorFlow is imported. Magenta needs Keras 2; Keras 3 takes a second.
os.environ['TF_USE_LEGACY_KERAS'] = '1'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# A notebook that samples must leave room on the GPU for a script that trains.
os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
warnings.filterwarnings('ignore', module='pydub|tf_keras|magenta|tensorflow')
warnings.filterwarnings('ignore', category=SyntaxWarning)  # In pydub.
