//! The tokens of one text, as soon as the device has found them.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{
    Generator, SearchOptions,
    decoder::{Decoder, Request},
};
use crate::{Error, Result, gpu::Signal};

/// The tokens of a text in the order in which they are read, without `<bos>` and `<eos>`: an iterator, which waits for the
/// device, and a stream, which does not block. The device works a few steps ahead, so tokens come in groups; dropping it before
/// its end stops the search.
pub struct Tokens<'a> {
    decoder: &'a mut Decoder,
    /// Tokens that nobody has asked for yet.
    ready: VecDeque<u32>,
    /// Tokens that the search has found so far.
    found: usize,
    /// Set once the text has ended, or the device has failed.
    over: bool,
    /// Signals that the search's state has been copied to the host, where a copy is under way.
    copied: Option<Signal<()>>,
}

impl std::fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("found", &self.found).field("over", &self.over).finish_non_exhaustive()
    }
}

impl Generator {
    /// The tokens of the text for a source (tokens that end in `<eos>`), one by one: those that [`Generator::generate`] gives.
    /// Greedy or sampled, for a beam may take tokens back until its end.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that the model cannot take ([`Generator::generate`]); [`Error::Shape`] for options out of
    /// their range or for more than one text; the errors of the device.
    pub fn tokens(&mut self, source: &[u32], options: &SearchOptions) -> Result<Tokens<'_>> {
        options.check(self.longest())?;
        if options.rows() != 1 {
            return Err(Error::Shape {
                operation: "tokens",
                argument: "options",
                wanted: "a beam of 1, or 1 sample".into(),
                got: format!("{}", options.rows()),
            });
        }
        self.check(&[source.to_vec()], &[], options)?;
        let requests = [Request { source, prefix: &[], number: options.first }];
        let decoder = self.decoder(&requests, false, options)?;
        decoder.start(&requests, options.seed)?;
        Ok(Tokens { decoder, ready: VecDeque::new(), found: 0, over: false, copied: None })
    }
}

impl Tokens<'_> {
    /// Takes the tokens of a look from `words`, the state read back, and continues the search.
    fn take(&mut self, words: &[u32]) -> Result<()> {
        let text = self.decoder.found(words, 1).into_iter().flatten().next().unwrap_or_default();
        self.ready.extend(text.tokens.iter().skip(self.found));
        self.found = text.tokens.len();
        self.over = !self.decoder.go_on(words)?;
        Ok(())
    }

    /// A token, or the end, if it is known; else the device must be heard first.
    fn known(&mut self) -> Option<Option<Result<u32>>> {
        match self.ready.pop_front() {
            Some(token) => Some(Some(Ok(token))),
            None if self.over => Some(None),
            None => None,
        }
    }

    /// Frees the buffer of the copy for the next reader.
    fn forget_copy(&mut self) {
        if self.copied.take().is_some() {
            self.decoder.readback.unmap();
        }
    }

    fn poll_look(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Decoder { gpu, state, readback, .. } = &*self.decoder;
        let copied = match self.copied.take() {
            Some(copied) => copied,
            None => gpu.copy_back::<u32>(readback, &state.all)?.1,
        };
        if gpu.poll_signal(&copied, context)?.is_pending() {
            self.copied = Some(copied);
            return Poll::Pending;
        }
        let words: Vec<u32> = gpu.take_back(readback, &state.all)?;
        Poll::Ready(self.take(&words))
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(known) = self.known() {
                return known;
            }
            self.forget_copy();
            let Decoder { gpu, state, readback, .. } = &*self.decoder;
            let looked = gpu.read_through(readback, &state.all).and_then(|words| self.take(&words));
            if let Err(error) = looked {
                self.over = true;
                return Some(Err(error));
            }
        }
    }
}

impl Stream for Tokens<'_> {
    type Item = Result<u32>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(known) = self.known() {
                return Poll::Ready(known);
            }
            match self.poll_look(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Drop for Tokens<'_> {
    fn drop(&mut self) {
        self.forget_copy();
    }
}
