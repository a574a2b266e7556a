"""Loops as HTML: a picture, and a player under it."""
import base64
import html
import io

import numpy as np

DPI = 100  # Of pictures.
OGG_BLOCK = 1 << 14  # Samples.


def ogg(audio: np.ndarray, rate: int) -> bytes:
  """Returns sound as an Ogg Vorbis file, of a sixth of FLAC's size.

  A notebook is saved to Drive with all that its cells show.

  Args:
    audio: float32 or int16, [samples, channels].
    rate: Samples a second.
  """
  import soundfile
  packed = io.BytesIO()
  with soundfile.SoundFile(packed, 'w', rate, audio.shape[1], 'VORBIS',
                           format='OGG') as f:
    # libsndfile encodes on the stack: much at once can be too much.
    for i in range(0, len(audio), OGG_BLOCK):
      f.write(audio[i:i + OGG_BLOCK])
  return packed.getvalue()


def loop_html(png: bytes, audio: np.ndarray | None = None, rate: int = 44100,
              why_silent: str = '') -> str:
  """Returns HTML of a loop: its picture and, looped, its player, as one piece.

  Args:
    png: The picture.
    audio: [samples, channels], if there is sound.
    rate: Samples a second.
    why_silent: What is said instead, if there is none.
  """
  def data(content: bytes, kind: str) -> str:
    return f'"data:{kind};base64,{base64.b64encode(content).decode()}"'
  player = f'<p>{html.escape(why_silent)}</p>' if audio is None else (
      '<audio controls loop style="width:100%" '
      f'src={data(ogg(audio, rate), "audio/ogg")}></audio>')
  return ('<div style="max-width:1000px;margin-bottom:1em">'
          f'<img alt="drum grid" style="max-width:100%;background:white" '
          f'src={data(png, "image/png")}>{player}</div>')


def side_by_side(columns: dict[str, str]) -> str:
  """Returns HTML of pieces beside each other, where there is room.

  Args:
    columns: {name: its HTML}.
  """
  return ('<div style="display:flex;flex-wrap:wrap;gap:1em">' + ''.join(
      f'<div style="flex:1 1 20em"><b>{html.escape(name)}</b>{column}</div>'
      for name, column in columns.items()) + '</div>')
