//! SentencePiece's model file, as far as a tokenizer is made of it.
//!
//! It is a protocol buffer. Its few fields that matter are read here, field by field; every other one is passed over, as the format
//! has it for readers that know less.

/// What a piece is, SentencePiece's `ModelProto.SentencePiece.Type`.
pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SentencePiece {
    pub pieces: Vec<Piece>,
    /// `model_type`: 1 for Unigram, 2 for BPE.
    pub model_type: u64,
    pub byte_fallback: bool,
    pub unknown: Named,
    pub bos: Named,
    pub eos: Named,
    /// The table of what characters are replaced by; empty without one.
    pub charsmap: Vec<u8>,
}

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: u64,
}

/// A special token; the id is negative where the model has none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    pub id: i32,
    pub text: String,
}

pub(super) const UNIGRAM: u64 = 1;
const NORMAL: u64 = 1;

impl SentencePiece {
    /// Reads a model.
    pub fn parse(bytes: &[u8]) -> Result<SentencePiece, String> {
        let named = |id, text: &str| Named { id, text: text.into() };
        // What a file leaves out has SentencePiece's default.
        let mut model = SentencePiece {
            pieces: vec![],
            model_type: UNIGRAM,
            byte_fallback: false,
            unknown: named(0, "<unk>"),
            bos: named(1, "<s>"),
            eos: named(2, "</s>"),
            charsmap: vec![],
        };
        let mut message = Message(bytes);
        while let Some((number, field)) = message.next()? {
            match number {
                1 => model.pieces.push(Piece::parse(field.bytes()?)?),
                2 => model.read_trainer(field.bytes()?)?,
                3 => model.read_normalizer(field.bytes()?)?,
                _ => {}
            }
        }
        match model.pieces.is_empty() {
            true => Err("it holds no pieces".into()),
            false => Ok(model),
        }
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut message = Message(bytes);
        while let Some((number, field)) = message.next()? {
            match number {
                3 => self.model_type = field.integer()?,
                35 => self.byte_fallback = field.integer()? != 0,
                40 => self.unknown.id = field.int32()?,
                41 => self.bos.id = field.int32()?,
                42 => self.eos.id = field.int32()?,
                45 => self.unknown.text = field.text()?,
                46 => self.bos.text = field.text()?,
                47 => self.eos.text = field.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut message = Message(bytes);
        while let Some((number, field)) = message.next()? {
            if number == 2 {
                self.charsmap = field.bytes()?.to_vec();
            }
        }
        Ok(())
    }
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Piece, String> {
        let mut piece = Piece { text: String::new(), score: 0.0, kind: NORMAL };
        let mut message = Message(bytes);
        while let Some((number, field)) = message.next()? {
            match number {
                1 => piece.text = field.text()?,
                2 => piece.score = field.float()?,
                3 => piece.kind = field.integer()?,
                _ => {}
            }
        }
        match piece.score.is_finite() {
            true => Ok(piece),
            false => Err(format!("piece {:?} has the score {}, expected a finite number", piece.text, piece.score)),
        }
    }
}

/// The bytes of a message that are not read yet.
struct Message<'a>(&'a [u8]);

/// A field's value, by how it is written.
enum Field<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Message<'a> {
    /// The next field with its number; none at the end.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed64)?,
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Field::Fixed32(self.take(4)?.try_into().map_err(|_| "it ends within a number")?),
            other => return Err(format!("a field is written in the way {other}, expected 0, 1, 2 or 5")),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return Err(format!("a field of {count} bytes is cut off after {}", self.0.len()));
        };
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has more than ten bytes".into())
    }
}

impl<'a> Field<'a> {
    fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err("a number stands where bytes were expected".into()),
        }
    }

    fn text(self) -> Result<String, String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| format!("a text is no UTF-8: {:?}", String::from_utf8_lossy(bytes)))
    }

    fn integer(self) -> Result<u64, String> {
        match self {
            Field::Varint(value) => Ok(value),
            _ => Err("bytes stand where an integer was expected".into()),
        }
    }

    /// Negative ones are written as if they had 64 bits.
    fn int32(self) -> Result<i32, String> {
        Ok(self.integer()? as i32)
    }

    fn float(self) -> Result<f32, String> {
        match self {
            Field::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err("something else stands where a number was expected".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = vec![];
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
    }

    fn model() -> Vec<u8> {
        let piece = |text: &str, score: f32, rest: &[u8]| {
            let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
            bytes(1, &[&bytes(1, text.as_bytes()), &score, rest].concat())
        };
        let trainer = [number(3, 2), number(35, 1), number(41, -1i64 as u64), bytes(46, "<bos>".as_bytes())].concat();
        // Fields that are not read: one of each way to write.
        let other = [number(90, 300), bytes(91, b"x"), [varint(92 << 3 | 1), vec![0; 8]].concat()].concat();
        let pieces = [piece("<s>", 0.0, &number(3, CONTROL)), piece("▁é", -1.5, &[])].concat();
        [&pieces[..], &bytes(2, &trainer), &bytes(3, &bytes(2, &[1, 2, 3])), &other].concat()
    }

    #[test]
    fn fields_are_read_and_left_out_ones_have_defaults() {
        let read = SentencePiece::parse(&model()).unwrap();
        let piece = |text: &str, score, kind| Piece { text: text.into(), score, kind };
        assert_eq!(read.pieces, [piece("<s>", 0.0, CONTROL), piece("▁é", -1.5, NORMAL)]);
        assert_eq!((read.model_type, read.byte_fallback, &read.charsmap[..]), (2, true, &[1, 2, 3][..]));
        assert_eq!((read.bos, read.eos.id), (Named { id: -1, text: "<bos>".into() }, 2));
        assert_eq!(read.unknown, Named { id: 0, text: "<unk>".into() });
    }

    /// Every cut and every changed byte gives a model or a reason.
    #[test]
    fn no_bytes_break_the_reader() {
        let whole = model();
        let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
        let changes = (0..whole.len()).flat_map(|at| {
            let whole = &whole;
            [0, 1, 7, 0x7f, 0x80, 0xff].map(|byte| {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                bytes
            })
        });
        let mut refused = 0;
        for bytes in cuts.chain(changes).chain([vec![0xff; 30], varint(1 << 3 | 2)]) {
            refused += usize::from(SentencePiece::parse(&bytes).is_err_and(|reason| !reason.is_empty()));
        }
        assert!(refused > whole.len(), "{refused}");
        let score = bytes(1, &[&bytes(1, b"a")[..], &varint(2 << 3 | 5), &f32::NAN.to_le_bytes()].concat());
        assert!(SentencePiece::parse(&score).unwrap_err().contains("finite"));
    }
}
