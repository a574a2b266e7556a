"""What makes the classes of lstm_models.py compute by the fast_lstm_ modules.

The variables, the loss and the gradients stay upstream's, to 1e-4. Each hook asks
whether the model's config is one that is computed here: no residual connections; for
decoders no autoregression between a hierarchy's levels, and either one categorical
output a step without controls, or a groove's outputs with teacher forcing. Otherwise
upstream's method runs. Only a hierarchical encoder's segments are always one batch.

Equations and shapes are in fast_lstm_layers.py.
"""
import types

from magenta.models.music_vae import fast_lstm_decoders as decoders
from magenta.models.music_vae import fast_lstm_encoders as encoders
from magenta.models.music_vae import hooks
from magenta.models.music_vae import upstream


def _remember_hparams(build, self, hparams, *args, **kwargs):
  self.hparams = hparams  # Not all of upstream's classes do.
  build(self, hparams, *args, **kwargs)


def _encode(original, self, sequence, sequence_length):
  encode = original if self.hparams.residual_encoder else encoders.encode
  return encode(self, sequence, sequence_length)


def _encode_hierarchy(original, self, sequence, sequence_length):
  del original
  return encoders.encode_hierarchy(self, sequence, sequence_length)


def _categorical_loss(original, self, x_input, x_target, x_length, z=None,
                      c_input=None):
  if decoders.can_decode(self, c_input):
    return decoders.categorical_loss(self, x_input, x_target, x_length, z)
  return original(self, x_input, x_target, x_length, z, c_input)


def _groove_loss(original, self, x_input, x_target, x_length, z=None, c_input=None):
  loss = decoders.groove_loss if decoders.can_force_groove(self) else original
  return loss(self, x_input, x_target, x_length, z, c_input)


def _hierarchical_loss(original, self, x_input, x_target, x_length, z=None,
                       c_input=None):
  if decoders.can_decode_hierarchy(self, c_input):
    return decoders.hierarchical_loss(self, x_input, x_target, x_length, z)
  return original(self, x_input, x_target, x_length, z, c_input)


def _fits(z, n):
  return z is None or int(z.shape[0]) == n


def _categorical_sample(original, self, n, max_length=None, z=None, c_input=None,
                        temperature=None, start_inputs=None, end_fn=None):
  if (decoders.can_decode(self, c_input) and decoders.can_sample(self, end_fn) and
      _fits(z, n)):
    return decoders.categorical_sample(
        self, n, max_length, z, temperature, start_inputs)
  return original(
      self, n, max_length, z, c_input, temperature, start_inputs, end_fn)


def _hierarchical_sample(original, self, n, max_length=None, z=None, c_input=None,
                         **kwargs):
  if (decoders.can_decode_hierarchy(self, c_input) and
      list(kwargs) == ['temperature'] and
      decoders.can_sample(upstream.core_decoder(self), None) and _fits(z, n)):
    return decoders.hierarchical_sample(self, n, max_length, z, **kwargs)
  return original(self, n, max_length, z, c_input, **kwargs)


HOOKS = (
    hooks.Hook('BidirectionalLstmEncoder.build', _remember_hparams),
    hooks.Hook('BaseLstmDecoder.build', _remember_hparams),
    hooks.Hook('BidirectionalLstmEncoder.encode', _encode),
    hooks.Hook('HierarchicalLstmEncoder.encode', _encode_hierarchy),
    hooks.Hook('CategoricalLstmDecoder.reconstruction_loss', _categorical_loss),
    hooks.Hook('CategoricalLstmDecoder.sample', _categorical_sample),
    hooks.Hook('GrooveLstmDecoder.reconstruction_loss', _groove_loss),
    hooks.Hook('HierarchicalLstmDecoder.reconstruction_loss', _hierarchical_loss),
    hooks.Hook('HierarchicalLstmDecoder.sample', _hierarchical_sample))


def install(lstm_models: types.ModuleType) -> None:
  """Attaches the hooks to the classes of upstream's module."""
  hooks.attach(lstm_models, HOOKS)
