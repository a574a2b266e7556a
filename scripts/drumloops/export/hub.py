"""Finished weights on the Hugging Face Hub, with card and examples."""
from __future__ import annotations

import dataclasses
import glob
import json
import os
import pathlib
import shutil
import tempfile
import typing
from collections.abc import Mapping, Sequence

from drumloops import abilities, requests
from drumloops.errors import THE_SAME_COMMAND, UserError, field, in_words
from drumloops.humanize import feel_model
from drumloops.humanize.humanizer import Humanizer
from drumloops.model import DrumModel
from drumloops.models import autoencoder, fills, prior, sliders
from drumloops.output import gallery
from drumloops.runs import checkpoint_files
from drumloops.system import cli
from drumloops.training import finish

if typing.TYPE_CHECKING:
  import huggingface_hub

EXAMPLES = 4  # Loops.
GMD = 'https://magenta.tensorflow.org/datasets/groove'
# Numbers of evaluation.json: the name in the card's YAML, and the keys.
METRICS = (('Frechet distance of groove features',
            ('samples', f'samples, temperature {autoencoder.DEFAULT_TEMPERATURE}',
             'frechet_distance')),
           ('Reconstruction loss (nats a loop)',
            ('reconstruction', 'reconstruction_loss')),
           ('Sampled accuracy', ('reconstruction', 'sampled_accuracy')),
           ('Wasserstein distance of velocities, of 127',
            ('feel', 'take 1', 'velocity_distance')),
           ('Wasserstein distance of timing, in ms',
            ('feel', 'take 1', 'timing_distance_ms')))


@dataclasses.dataclass(frozen=True)
class Weights:
  """Finished weights and what their card says of them.

  repo: 'user/name'.
  config_name: Name of the config.
  hparams: Changes to the config that they were trained with.
  checkpoint: The checkpoint's prefix.
  license: As the Hub calls it, such as 'apache-2.0'; None if none was named.
  """
  repo: str
  config_name: str
  hparams: str
  checkpoint: str
  license: str | None


def read_evaluation(folder: str | None, checkpoint: str) -> dict[str, object] | None:
  """Returns the content of evaluation.json, None if there is none.

  Prints so, and returns None, if it is about another checkpoint.

  Args:
    folder: Where it is; None is beside the checkpoint.
    checkpoint: The checkpoint's prefix.

  Raises:
    UserError: if it is damaged.
  """
  path = os.path.join(folder or os.path.dirname(checkpoint), 'evaluation.json')
  try:
    with open(path, encoding='utf-8') as f:
      result = json.load(f)
    about, _ = os.path.abspath(result['checkpoint']), result['split']
  except FileNotFoundError:
    return None
  except (OSError, ValueError, TypeError, KeyError) as e:
    raise UserError(f'{path} is damaged; evaluate again.') from e
  # A checkpoint and its evaluation.json may have been moved together.
  if (os.path.realpath(about) != os.path.realpath(checkpoint) if folder else
      os.path.basename(about) != os.path.basename(checkpoint)):
    print(f'{path} is about {about}, so the card has no numbers.')
    return None
  return result


def metrics(result: Mapping[str, object]) -> list[tuple[str, float]]:
  """Returns the METRICS that an evaluation has: [(name, number)]."""
  found = []
  for name, keys in METRICS:
    value = result
    for key in keys:
      value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, (int, float)):
      found.append((name, value))
  return found


def card(weights: Weights, result: Mapping[str, object] | None,
         loops: Sequence[str], is_gmd: bool) -> str:
  """Returns the text of the model card, its YAML first.

  Args:
    weights: What the card is about.
    result: Of `read_evaluation`.
    loops: Files of example loops in loops/; none if the config can't be sampled.
    is_gmd: Whether the data were GMD, as far as can be told.
  """
  name, checkpoint = weights.repo.split('/')[-1], os.path.basename(weights.checkpoint)
  found = metrics(result) if result else []
  lines = ['---', card_yaml(weights, result, is_gmd), '---', '', f'# {name}', '',
           f'A MusicVAE of drum loops (config `{weights.config_name}` of MusicVAE Drum '
           f'Sampling, 4 bars), `{checkpoint}`, a TensorFlow checkpoint that '
           'stock Magenta 2.1.4 reads too.', '', '```sh',
           f'python3 scripts/{"sample" if loops else "humanize"}.py '
           f'--config={weights.config_name} --checkpoint_file=hf://{weights.repo}'
           + (f' --hparams={weights.hparams}' if weights.hparams else '')
           + ('' if loops else ' in.mid out.mid'), '```', '']
  if found:
    lines += [f'On the {result["split"]} split of the data it was evaluated on:',
              '', '| | |', '| --- | --- |',
              *(f'| {name} | {value:.3f} |' for name, value in found), '']
  if loops:
    lines += ['## Examples', '',
              'Not chosen: the first ones of seed 0, with a drummer\'s dynamics '
              'and timing where the config has none of its own.', '']
    lines += [f'![{name}](loops/{name})\n' if name.endswith('.png') else
              f'[{name}](loops/{name})\n' for name in loops]
  lines += ['## Data', '', (
      f'The [Groove MIDI Dataset]({GMD}) (Google LLC, CC BY 4.0), Gillick et al. '
      '2019, arXiv 1905.06118.' if is_gmd else
      'Say here what it was trained on, and thank whom it is due.')
            + ' MusicVAE: Roberts et al. 2018, arXiv 1803.05428.', '']
  if not weights.license:
    lines += ['## Licence', '', 'Whoever shares these weights has named none yet.', '']
  return '\n'.join(lines)


def card_yaml(weights: Weights, result: Mapping[str, object] | None,
              is_gmd: bool) -> str:
  """Returns the YAML of the model card, for the fields of `card`."""
  from huggingface_hub import EvalResult, ModelCardData
  return ModelCardData(
      license=weights.license, library_name='magenta',
      datasets=['groove'] if is_gmd else None,
      tags=['music', 'midi', 'drums', 'musicvae', weights.config_name],
      model_name=weights.repo.split('/')[-1], eval_results=[
          EvalResult(task_type='other', task_name='4-bar drum loops',
                     dataset_type='groove' if is_gmd else 'unknown',
                     dataset_name='Groove MIDI Dataset' if is_gmd else
                     'MIDI drums of its maker',
                     dataset_split=result['split'], metric_type=name,
                     metric_value=round(value, 4))
          for name, value in (metrics(result) if result else ())] or None).to_yaml()


def gather(weights: Weights, evaluation_dir: str | None, folder: str) -> None:
  """Writes all that is shared into a folder: weights, styles, examples, card.

  Only GMD's files say styles, and the project's own weights are of it.

  Args:
    weights: What is shared.
    evaluation_dir: Of `share`.
    folder: Where to.

  Raises:
    UserError: if something is damaged, or the Hub knows no such licence.
  """
  checkpoint = weights.checkpoint
  for path in glob.glob(glob.escape(checkpoint) + '.*'):
    shutil.copy(path, folder)
  has_names = False
  for module, name in ((prior, prior.PRIOR_FILE), (fills, fills.FILLS_FILE),
                       (feel_model, feel_model.FEEL_FILE),
                       (sliders, sliders.SLIDERS_FILE)):
    path = os.path.join(os.path.dirname(checkpoint), name)
    if os.path.exists(path):
      # Raises an error if it is damaged or of other weights.
      has_names |= len(module.load(checkpoint).get('names', ())) > 0
      shutil.copy(path, folder)
  result = read_evaluation(evaluation_dir, checkpoint)
  if result:
    with open(os.path.join(folder, 'evaluation.json'), 'w') as f:
      json.dump({**result, 'checkpoint': os.path.basename(checkpoint)}, f, indent=2)
  loops = write_examples(weights, folder)
  is_gmd = has_names or checkpoint_files.OWN_WEIGHTS in pathlib.Path(
      os.path.abspath(checkpoint)).parents
  text = card(weights, result, loops, is_gmd)
  check_card(text, weights)
  with open(os.path.join(folder, 'README.md'), 'w', encoding='utf-8') as f:
    f.write(text)


def write_examples(weights: Weights, folder: str) -> list[str]:
  """Writes example loops into FOLDER/loops; returns their names, none if it can't."""
  model = DrumModel(weights.checkpoint, weights.config_name, weights.hparams)
  if not model.abilities.can(abilities.SAMPLE):
    print('This config plays what it is told, so there are no example loops.')
    return []
  loops = model.sample(EXAMPLES)
  if model.abilities.can(abilities.BE_HUMANIZED):
    loops = Humanizer().play(loops)
  written = gallery.write(loops, os.path.join(folder, 'loops'), requests.SAMPLE)
  os.remove(written['page'])  # The Hub would show it as text.
  return sorted(os.listdir(os.path.join(folder, 'loops')))


def check_card(text: str, weights: Weights) -> None:
  """Raises UserError if the Hub refuses a card, before a repository is made."""
  import huggingface_hub
  try:
    with checkpoint_files.hub_errors(weights.repo):
      huggingface_hub.ModelCard(text).validate()
  except UserError as e:
    if not weights.license or '"license' not in str(e):
      raise
    raise UserError(
        f'The Hub knows no licence {weights.license}, and nothing was uploaded; name '
        f'another {field("license")}, such as apache-2.0 or mit.') from e


def share(repo: str, config_name: str, checkpoint_file: str,
          evaluation_dir: str | None = None, private: bool = True,
          license: str | None = None, hparams: str = '') -> str:
  """Uploads weights to the Hub; returns their address.

  They replace what was shared there before. Prints who sees them, and what others may
  do with them.

  Args:
    repo: 'user/name', made if need be.
    config_name: Name of the config.
    checkpoint_file: Finished weights: a checkpoint, or a folder with it.
    evaluation_dir: Where evaluation.json is; default: beside the checkpoint.
    private: Whether only its owner may see a new repository; else everybody.
    license: As the Hub calls it, such as 'apache-2.0'; without one nobody else may
      use them.
    hparams: Changes to the config that the checkpoint was trained with.

  Raises:
    UserError: if there are no such weights, no token, or no connection; it says what
      was uploaded.
  """
  import huggingface_hub
  token = huggingface_hub.get_token()
  if not token:
    raise UserError(
        'There is no token: make one that may write on '
        'https://huggingface.co/settings/tokens and put it into HF_TOKEN (in '
        'Colab: the key symbol on the left, a secret of this name, notebook '
        'access on).')
  api = huggingface_hub.HfApi(token=token)
  repo, revision = checkpoint_files.parse_address(repo)
  if revision not in (None, 'main'):
    raise UserError(f'Weights are shared as the newest of {repo}; name it '
                    f'without {revision}.')
  with checkpoint_files.hub_errors(repo):
    huggingface_hub.utils.validate_repo_id(repo)
  weights = Weights(repo, config_name, hparams, checkpoint_files.find_checkpoint(
      checkpoint_file=checkpoint_file), license)
  with tempfile.TemporaryDirectory() as folder:
    gather(weights, evaluation_dir, folder)
    url, is_private = upload(api, weights, folder, private)
  print(in_words(f'Shared as {url}, taken as hf://{repo}. ' + (
      'Everybody sees it.' if not is_private else
      f'Only you see it; a new one would be public with {field("private", False)}.'
      if private else
      'Only you see it, as before; its settings there make it public.')))
  print(in_words(
      f'Its licence is {license}, as you said; its card says what else it does.'
      if license else 'It has no licence, so nobody else may use it; '
      f'{field("license")} names one, such as apache-2.0 or cc-by-4.0.'))
  return url


def upload(api: huggingface_hub.HfApi, weights: Weights, folder: str,
           private: bool) -> tuple[str, bool]:
  """Uploads a folder in one commit, in which older weights of the repository go.

  Args:
    api: With a token.
    weights: What the folder has.
    folder: Of `gather`.
    private: Of `share`.

  Returns:
    The repository's address, and whether only its owner sees it.

  Raises:
    UserError: if it fails; it says what was uploaded.
  """
  repo = weights.repo
  with checkpoint_files.hub_errors(repo):
    url = api.create_repo(repo, private=private, exist_ok=True)
  try:
    with checkpoint_files.hub_errors(repo):
      before = api.model_info(repo)
  except UserError as e:
    raise UserError(f'{e} The repository {url} is there, and nothing was uploaded; '
                    f'{THE_SAME_COMMAND} goes on from there.') from e
  if private and not before.private:
    raise UserError(f'{url} is public already, and nothing was uploaded; share there '
                    f'with {field("private", False)}, or name another {field("repo")}.')
  try:
    with checkpoint_files.hub_errors(repo):
      api.upload_folder(
          repo_id=repo, folder_path=folder,
          delete_patterns=['model.ckpt-*', 'loops/*', *finish.BESIDE,
                           feel_model.FEEL_FILE, 'evaluation.json'],
          commit_message=os.path.basename(weights.checkpoint))
  except (UserError, OSError) as e:
    raise UserError(
        f'{cli.sentence(e)} {what_is_there(api, repo, url, before.sha)}') from e
  return url, before.private


def what_is_there(api: huggingface_hub.HfApi, repo: str, url: str, before: str) -> str:
  """Returns a sentence that says which files of a failed upload have arrived.

  Args:
    api: A huggingface_hub.HfApi.
    repo: 'user/name'.
    url: Its page.
    before: Its commit when the upload began.
  """
  try:
    files = ('all files have arrived' if api.model_info(repo).sha != before else
             'none of the files is in it')
  except Exception:  # For whatever reason the upload failed.
    files = 'whether the files are in it is not known'
  return (f'The repository {url} is there, and {files}; {THE_SAME_COMMAND} goes on '
          'from there.')
