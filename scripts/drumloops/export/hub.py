"""Finished weights on the Hugging Face Hub, with card and examples."""
import contextlib
import glob
import io
import json
import os
import pathlib
import shutil
import tempfile

from drumloops import sampling
from drumloops.errors import THE_SAME_COMMAND, UserError, field, in_words
from drumloops.data import styles
from drumloops.humanize import feel_model
from drumloops.models import autoencoder
from drumloops.runs import checkpoint_files
from drumloops.system import cli, magenta_setup

EXAMPLES = 4  # Loops.
GMD = 'https://magenta.tensorflow.org/datasets/groove'
# What evaluation.json may hold: its name in the card's YAML, and where it is.
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


def read_evaluation(folder, checkpoint):
  """Returns what evaluation.json says of a checkpoint, None if it says nothing.

  Says so if it is about another one.

  Args:
    folder: Where it is; None is beside the checkpoint.
    checkpoint: The checkpoint's prefix.
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
  # What lies beside a checkpoint may have been moved with it.
  if (os.path.realpath(about) != os.path.realpath(checkpoint) if folder else
      os.path.basename(about) != os.path.basename(checkpoint)):
    print(f'{path} is about {about}, so the card has no numbers.')
    return None
  return result


def metrics(result):
  """Returns [(name, number)] of what METRICS finds in an evaluation."""
  found = []
  for name, keys in METRICS:
    value = result
    for key in keys:
      value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, (int, float)):
      found.append((name, value))
  return found


def card(repo, config_name, hparams, checkpoint, result, loops, is_gmd, license):
  """Returns the text of the model card, its YAML first.

  Args:
    repo: 'user/name'.
    config_name: Name of the config.
    hparams: What it was changed by.
    checkpoint: The checkpoint's name in the repository.
    result: Of `read_evaluation`.
    loops: Files of example loops in loops/; none if the config can't be sampled.
    is_gmd: Whether the data were GMD, as far as can be told.
    license: As the Hub calls it, such as 'apache-2.0'; None if none was named.
  """
  from huggingface_hub import EvalResult, ModelCardData
  found = metrics(result) if result else []
  data = ModelCardData(
      license=license, library_name='magenta',
      datasets=['groove'] if is_gmd else None,
      tags=['music', 'midi', 'drums', 'musicvae', config_name],
      model_name=repo.split('/')[-1], eval_results=[
          EvalResult(task_type='other', task_name='4-bar drum loops',
                     dataset_type='groove' if is_gmd else 'unknown',
                     dataset_name='Groove MIDI Dataset' if is_gmd else
                     'MIDI drums of its maker',
                     dataset_split=result['split'], metric_type=name,
                     metric_value=round(value, 4)) for name, value in found]
      or None)
  lines = ['---', data.to_yaml(), '---', '', f'# {repo.split("/")[-1]}', '',
           f"A MusicVAE of drum loops (config `{config_name}` of MusicVAE Drum "
           f'Sampling, 4 bars), `{checkpoint}`, a TensorFlow checkpoint that '
           'stock Magenta 2.1.4 reads too.', '', '```sh',
           f'python3 scripts/{"sample" if loops else "humanize"}.py '
           f'--config={config_name} --checkpoint_file=hf://{repo}'
           + (f' --hparams={hparams}' if hparams else '')
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
  if not license:
    lines += ['## Licence', '', 'Whoever shares these weights has named none yet.', '']
  return '\n'.join(lines)


def gather(repo, config_name, hparams, checkpoint, evaluation_dir, license, folder):
  """Writes all that is shared into a folder: weights, styles, examples, card.

  Only GMD's files say styles, and the project's own weights are of it.

  Raises:
    UserError: if something is damaged, or the Hub knows no such licence.
  """
  import huggingface_hub
  config = magenta_setup.get_config(config_name, hparams)
  for path in glob.glob(glob.escape(checkpoint) + '.*'):
    shutil.copy(path, folder)
  has_names = False
  for module, name in ((styles, styles.STYLES_FILE), (feel_model, feel_model.FEEL_FILE)):
    path = os.path.join(os.path.dirname(checkpoint), name)
    if os.path.exists(path):
      # So that no damaged or other one is given away.
      has_names |= len(module.load(checkpoint)['names']) > 0
      shutil.copy(path, folder)
  result = read_evaluation(evaluation_dir, checkpoint)
  if result:
    with open(os.path.join(folder, 'evaluation.json'), 'w') as f:
      json.dump({**result, 'checkpoint': os.path.basename(checkpoint)}, f, indent=2)
  loops = []
  if config.data_converter.control_depth:
    print('This config plays what it is told, so there are no example loops.')
  else:
    with contextlib.redirect_stdout(io.StringIO()):  # It names this folder.
      paths = sampling.sample(
          config_name, checkpoint_file=checkpoint, num_outputs=EXAMPLES,
          hparams=hparams, humanize=True, output_dir=os.path.join(folder, 'loops'))
    os.remove(paths['page'])  # The Hub would show it as text.
    loops = sorted(os.listdir(os.path.join(folder, 'loops')))
  is_gmd = has_names or checkpoint_files.OWN_WEIGHTS in pathlib.Path(
      os.path.abspath(checkpoint)).parents
  text = card(repo, config_name, hparams, os.path.basename(checkpoint), result, loops,
              is_gmd, license)
  try:  # Before a repository is made in vain.
    with checkpoint_files.hub_errors(repo):
      huggingface_hub.ModelCard(text).validate()
  except UserError as e:
    if not license or '"license' not in str(e):
      raise
    raise UserError(
        f'The Hub knows no licence {license}, and nothing was uploaded; name another '
        f'{field("license")}, such as apache-2.0 or mit.') from e
  with open(os.path.join(folder, 'README.md'), 'w', encoding='utf-8') as f:
    f.write(text)


def share(repo, config_name, checkpoint_file, evaluation_dir=None, private=True,
          license=None, hparams=''):
  """Uploads weights to the Hub; returns their address.

  What an earlier one has shared there is replaced. Says who sees it, and what they
  may do with it.

  Args:
    repo: 'user/name', made if need be.
    config_name: Name of the config.
    checkpoint_file: Finished weights: a checkpoint, or a folder with it.
    evaluation_dir: Where evaluation.json is; default: beside the checkpoint.
    private: Whether only its owner may see it; else everybody.
    license: As the Hub calls it, such as 'apache-2.0'; without one nobody else may
      use them.
    hparams: Changes to the config that the checkpoint was trained with.

  Raises:
    UserError: if there are no such weights, no token, or no way there; it says
      what was uploaded.
  """
  import huggingface_hub
  token = huggingface_hub.get_token()
  if not token:
    raise UserError(
        'There is no token: make one that may write on '
        'https://huggingface.co/settings/tokens and put it into HF_TOKEN (in '
        "Colab: the key symbol on the left, a secret of this name, notebook "
        'access on).')
  api = huggingface_hub.HfApi(token=token)
  repo, revision = checkpoint_files.parse_address(repo)
  if revision not in (None, 'main'):
    raise UserError(f'Weights are shared as the newest of {repo}; name it '
                        f'without {revision}.')
  with checkpoint_files.hub_errors(repo):
    huggingface_hub.utils.validate_repo_id(repo)
  checkpoint = checkpoint_files.find_checkpoint(checkpoint_file=checkpoint_file)
  with tempfile.TemporaryDirectory() as folder:
    gather(repo, config_name, hparams, checkpoint, evaluation_dir, license, folder)
    with checkpoint_files.hub_errors(repo):
      url = api.create_repo(repo, private=private, exist_ok=True)
    try:
      with checkpoint_files.hub_errors(repo):
        before = api.model_info(repo)
    except UserError as e:
      raise UserError(f'{e} The repository {url} is there, and nothing was '
                          f'uploaded; {THE_SAME_COMMAND} goes on from there.') from e
    if private and not before.private:
      raise UserError(f'{url} is public already, and nothing was uploaded; share '
                          f'there with {field("private", False)}, or name another {field("repo")}.')
    try:
      with checkpoint_files.hub_errors(repo):
        # In one commit, in which other checkpoints of the repository go.
        api.upload_folder(
            repo_id=repo, folder_path=folder,
            delete_patterns=['model.ckpt-*', 'loops/*', styles.STYLES_FILE,
                             feel_model.FEEL_FILE, 'evaluation.json'],
            commit_message=os.path.basename(checkpoint))
    except (UserError, OSError) as e:
      raise UserError(f'{cli.sentence(e)} {what_is_there(api, repo, url, before.sha)}') from e
  print(in_words(f'Shared as {url}, taken as hf://{repo}. ' + (
      'Everybody sees it.' if not before.private else
      f'Only you see it; a new one would be public with {field("private", False)}.' if private else
      'Only you see it, as before; its settings there make it public.')))
  print(in_words(
      f'Its licence is {license}, as you said; its card says what else it does.'
      if license else f'It has no licence, so nobody else may use it; {field("license")} names '
      'one, such as apache-2.0 or cc-by-4.0.'))
  return url


def what_is_there(api, repo, url, before):
  """Returns the sentence that says what of an upload that failed has arrived.

  Args:
    api: A huggingface_hub.HfApi.
    repo: 'user/name'.
    url: Its page.
    before: Its commit when the upload began.
  """
  try:
    files = ('all files have arrived' if api.model_info(repo).sha != before else
             'none of the files is in it')
  except Exception:  # Whatever it was that failed before.
    files = 'whether the files are in it is not known'
  return (f'The repository {url} is there, and {files}; {THE_SAME_COMMAND} goes on from '
          'there.')
