"""What the commands in scripts/ and the notebook share.

From the ground up:

    grid                                           bars, steps, drum classes
    cli, disk, backend                             how anything here runs
    midi, loop_midi, sound, plots, page            files in, loops out
    data_splits, conversion                        data
    checkpoint_files, runs, backup                 checkpoints, and where they lie
    grooves, autoencoder, latent, styles           a model and its latent space
    training, humanizing, sampling, metrics, sharing    what is done with them
    stages, notebook                               how the notebook does it
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
