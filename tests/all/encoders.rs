//! Encoders, and encoder-decoders on whole sequences, through the whole road.

use crate::{golden, options};
use kiln::{LoadOptions, Model, ModelFiles, Session, SessionOptions, compile, verify};

fn check(name: &str) {
    let folder = golden(name);
    let files = ModelFiles::open_folder(&folder).expect("opens");
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("golden.kiln");
    compile(&files, &path, &options()).expect("compiles");
    let model = Model::open(&path, &LoadOptions::default()).expect("loads");
    let mut session = Session::new(&model, &SessionOptions::default()).expect("a session");
    let recorded = |prefix| verify::read_tensors(&folder.join("golden.safetensors"), prefix).expect("reads");
    let got = verify::call(&mut session, "forward", &recorded("in.")).expect("runs");
    for c in verify::compare(name, &got, &recorded("out.")).expect("same shapes") {
        assert!(c.holds(), "{}: error {:.2e}", c.name, c.relative_error);
    }
}

macro_rules! goldens {
    ($($test:ident $name:literal;)*) => {$(
        #[test]
        fn $test() {
            check($name);
        }
    )*};
}

goldens! {
    bart "bart";
    bert_classify "bert-classify";
    bert_mlm "bert-mlm";
    bert_token "bert-token";
    distilbert_classify "distilbert-classify";
    electra_classify "electra-classify";
    modernbert_mlm "modernbert-mlm";
    roberta_classify "roberta-classify";
    roberta_qa "roberta-qa";
    t5 "t5";
}
