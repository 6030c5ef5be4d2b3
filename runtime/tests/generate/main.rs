//! The generation loop on toy models: what a row says must not depend on its neighbours, on padding, on chunks, or on how it is read.

mod beams;
mod encoder_decoder;
mod rows;
mod toy;
