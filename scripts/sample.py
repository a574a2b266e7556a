"""Makes drum loops from a checkpoint: MIDI, WAV, pictures, a page to listen on.

    python3 scripts/sample.py --run_dir=run --num_outputs=4
    python3 scripts/sample.py --style=funk --humanize --qpm=100
    python3 scripts/sample.py --density=1 --fills=-1
    python3 scripts/sample.py --form=intro4,verse8,chorus8,verse8,chorus8,outro4
    python3 scripts/sample.py --run_dir=run --mode=interpolate \
        --input_midi_1=a.mid --input_midi_2=b.mid --num_outputs=8
    python3 scripts/sample.py --run_dir=run --mode=reconstruct \
        --input_midi_1=a.mid
    python3 scripts/sample.py --mode=complete --input_midi_1=a.mid --keep=kick,snare
    python3 scripts/sample.py --mode=vary --input_midi_1=a.mid --amount=0.2
    python3 scripts/sample.py --mode=complete --input_midi_1=a.mid --fill=4
    python3 scripts/sample.py --output_map=superior3

Without --run_dir or --checkpoint_file, the weights in weights/ are used.
"""
from collections.abc import Iterable

from drumloops import DrumLoop, DrumModel, Humanizer, abilities, requests
from drumloops.errors import UserError, field, in_words
from drumloops.humanize import take as takes
from drumloops.humanize.take import TakeRequest
from drumloops.midi import drum_maps, midi_file, soundfonts
from drumloops.models import constraints, fills, sliders, song
from drumloops.output import gallery
from drumloops.requests import LoopRequest
from drumloops.system import cli, magenta_setup
from absl import flags


def define_flags() -> None:
  """Defines the flags of a request, of its input and of its output."""
  cli.define_weights(magenta_setup.DEFAULT_CONFIG)
  flags.DEFINE_enum('mode', requests.SAMPLE, list(requests.INPUTS), 'What to make.')
  flags.DEFINE_integer('num_outputs', 4, 'Number of loops.')
  flags.DEFINE_float('temperature', None, 'Randomness of each step. Default: '
                     f'{requests.DEFAULT_TEMPERATURE}; to reconstruct, none, so '
                     'that the most likely drums play.')
  flags.DEFINE_string('style', None,
                      'Style to sample, such as funk; list names them all.')
  flags.DEFINE_integer('seed', 0, 'The same seed gives the same bytes.')
  flags.DEFINE_string('input_midi_1', None,
                      'MIDI file to interpolate from, to reconstruct, to complete '
                      'or to vary.')
  flags.DEFINE_string('input_midi_2', None, 'MIDI file to interpolate to.')
  midi_file.define_flags()
  drum_maps.define_flags()
  flags.DEFINE_integer('first_bar', 0, 'Bar that the MIDI files begin with, from 1. '
                       'Default: the first in which a drum plays.', lower_bound=0)
  constraints.define_flags()
  sliders.define_flags()
  flags.DEFINE_string('form', '', 'A song of sections: names with their bars, such as '
                      'intro4,verse8,chorus8. One, unless --num_outputs says more.')
  flags.DEFINE_string('fill', '', 'Bars that get a fill, such as 4,8; 4 is every fourth '
                      'bar. With --mode=complete and nothing to keep, all else is kept.')
  flags.DEFINE_float('amount', None, 'To vary: from 0, the loop itself, to 1, others '
                     f'of its kind (default {requests.DEFAULT_AMOUNT}). Else, with '
                     '--humanize: how much of the take, from 0 to 1.2 (default 1).')
  flags.DEFINE_integer('bars', None, 'Length; the bars after the first 4 go on with '
                       'those before. Default: as the config has it, 4.')
  flags.DEFINE_float('qpm', None, 'Tempo in quarters (beats) a minute. Default: the '
                     "MIDI file's, else 120.")
  flags.DEFINE_bool('humanize', False,
                    "Whether to give the loops a drummer's velocity and microtiming.")
  takes.define_flags()
  flags.DEFINE_string('soundfont', None,
                      'SoundFont (.sf2) that plays the drums; default: the '
                      'environment variable SOUNDFONT, else synth, the kit of the page.')
  flags.DEFINE_bool('sound', True, 'Whether to write WAV files.')
  flags.DEFINE_bool('stems', False, 'Whether to write a WAV file of each drum too; '
                    'their sum is the loop.')
  flags.DEFINE_bool('pictures', True, 'Whether to write pictures.')
  flags.DEFINE_string('output_dir', 'outputs', 'Folder to write to.')


def read_requests() -> tuple[LoopRequest, TakeRequest]:
  """Returns the LoopRequest and the TakeRequest of the flags."""
  FLAGS = flags.FLAGS
  varies = FLAGS.mode == requests.VARY
  if not FLAGS.humanize and (FLAGS.velocity or FLAGS.timing or FLAGS.ornaments or
                             FLAGS.amount and not varies):
    raise UserError(
        f'{field("velocity")}, {field("timing")}, {field("ornaments")} and, but to vary '
        f'a loop, {field("amount")} say how much of a take to play, so they go with '
        f'{field("humanize")}.')
  amount = 1. if varies or FLAGS.amount is None else FLAGS.amount
  take = TakeRequest(FLAGS.take, amount if FLAGS.humanize else 0., FLAGS.velocity,
                     FLAGS.timing, FLAGS.drummer, swing=FLAGS.swing, ornaments=(
                         1. if FLAGS.ornaments is None else FLAGS.ornaments))
  form = song.read_form(FLAGS.form) if FLAGS.form else ()
  is_song = form and FLAGS.mode in (requests.SAMPLE, requests.SONG)
  return LoopRequest(
      requests.SONG if is_song else FLAGS.mode,
      1 if is_song and not FLAGS['num_outputs'].present else FLAGS.num_outputs,
      FLAGS.temperature, FLAGS.seed, FLAGS.style or '', FLAGS.qpm, FLAGS.bars,
      FLAGS.amount if varies and FLAGS.amount is not None else requests.DEFAULT_AMOUNT,
      constraints.Constraints.of_flags(FLAGS), sliders.Sliders.of_flags(FLAGS), form,
      fills.read(FLAGS.fill)), take


def read_inputs(request: LoopRequest, model: DrumModel) -> list[DrumLoop]:
  """Returns the DrumLoops that a request is about."""
  FLAGS = flags.FLAGS
  count = requests.INPUTS[request.mode]
  paths = [FLAGS.input_midi_1, FLAGS.input_midi_2][:count]
  if None in paths:
    raise UserError(f'{field("mode", request.mode)} needs ' + ' and '.join(
        field(f'input_midi_{i + 1}') for i in range(count)) + '.')
  if not paths and (FLAGS.first_bar or FLAGS.map or
                    FLAGS.drum_channel != midi_file.DRUM_CHANNEL + 1):
    raise UserError(f'{field("first_bar")}, {field("drum_channel")} and {field("map")} '
                    'say how a MIDI file is read, so they need one; loops are written '
                    f'on channel 10, with the notes of {field("output_map")}.')
  if FLAGS.map and not FLAGS.output_map:  # What is made has notes of the file's map.
    drum_maps.find(FLAGS.map).require_all()
  options = {'first_bar': FLAGS.first_bar, 'drum_channel': FLAGS.drum_channel,
             'map': FLAGS.map}
  if request.mode == requests.COMPLETE and request.bars:
    options['bars'] = request.bars
  return [model.read(path, **options) for path in paths]


def main() -> None:
  """Makes the loops, and writes them."""
  FLAGS = flags.FLAGS
  if FLAGS.style == 'list':
    model = DrumModel(cli.read_weights(), FLAGS.config, FLAGS.hparams)
    if not model.styles:
      raise UserError('The names of the files that these weights learned from say no '
                      'styles.')
    for style, count in sorted(model.styles.items(), key=lambda pair: -pair[1]):
      print(f'{style}: {count} training loops')
    return
  request, take = read_requests()
  # Sooner than after sampling.
  soundfonts.find_soundfont(FLAGS.soundfont)
  kit = drum_maps.find(FLAGS.output_map, 'output_map')
  if kit:
    kit.require_all()  # Sooner than after sampling.
  model = DrumModel(cli.read_weights(), FLAGS.config, FLAGS.hparams, progress=True
                    ).for_mode(request.mode)
  model.check(request)
  magenta_setup.warn_of_new_gpu()
  given = read_inputs(request, model)
  say(model.remarks)
  for loop in given:
    say(loop.left_out)
  loops = model.make(request, *given)
  say(dict.fromkeys(remark for loop in loops for remark in loop.remarks))
  if any(take.how_much) and model.abilities.can(abilities.BE_HUMANIZED):
    loops = Humanizer(progress=True).play_take(loops, take)
  else:
    if any(take.how_much):
      say([model.abilities.why_not(abilities.BE_HUMANIZED)])
    loops = [loop.swung(take.swing) for loop in loops]
  loops = [loop.with_map(kit) for loop in loops]
  written = gallery.write(
      loops, FLAGS.output_dir, request.style or request.mode, FLAGS.soundfont,
      FLAGS.sound, FLAGS.pictures, FLAGS.stems)
  say(gallery.describe_files(loops, written, model.checkpoint))


def say(sentences: Iterable[str]) -> None:
  """Prints sentences."""
  for sentence in sentences:
    print(in_words(sentence))


if __name__ == '__main__':
  cli.run(main, define_flags)
