//! A sink that keeps nothing. Nothing can come twice into it.

use aquifer_model::{ChangeBatch, Epoch, Result};
use aquifer_processor::connector::{Accepts, Delivery, Prepared, Sink, Writer, WriterId};
use async_trait::async_trait;

#[derive(Debug)]
pub(super) struct BlackholeSink;

#[async_trait]
impl Sink for BlackholeSink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn accepts(&self) -> Accepts {
        Accepts::Changes
    }

    async fn open(&self, _writer: WriterId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Self))
    }

    async fn commit(&self, _epoch: Epoch, _prepared: Vec<Prepared>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Writer for BlackholeSink {
    async fn write(&mut self, _changes: &ChangeBatch) -> Result<()> {
        Ok(())
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<Prepared> {
        Ok(Prepared::default())
    }
}
