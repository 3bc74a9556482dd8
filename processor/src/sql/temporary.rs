//! Objects of one session: they hide the catalogs' objects of their names, and end with the session.

use std::collections::BTreeMap;

use aquifer_catalog::{TableDefinition, ViewDefinition};
use aquifer_model::{Error, Result};

/// A temporary object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Temporary {
    Table(TableDefinition),
    View(ViewDefinition),
}

/// The temporary objects of a session, by full name.
#[derive(Debug, Clone, Default)]
pub(super) struct TemporaryObjects {
    objects: BTreeMap<[String; 3], Temporary>,
}

impl TemporaryObjects {
    /// The object of a name: exactly, or without case if exactly one fits.
    pub fn find(&self, name: &[String; 3]) -> Option<(&[String; 3], &Temporary)> {
        if let Some(exact) = self.objects.get_key_value(name) {
            return Some(exact);
        }
        let same = |other: &[String; 3]| other[..2] == name[..2] && other[2].to_lowercase() == name[2].to_lowercase();
        let mut found = self.objects.iter().filter(|(other, _)| same(other));
        found.next().filter(|_| found.next().is_none())
    }

    /// Adds an object.
    pub fn create(
        &mut self,
        name: [String; 3],
        object: Temporary,
        if_not_exists: bool,
        or_replace: bool,
    ) -> Result<()> {
        if self.objects.contains_key(&name) && !or_replace {
            if if_not_exists {
                return Ok(());
            }
            return Err(Error::invalid(format!("there is a temporary object `{}` already", name[2])));
        }
        self.objects.insert(name, object);
        Ok(())
    }

    /// Removes an object of a kind (`table` or `view`).
    pub fn remove(&mut self, name: &[String; 3], kind: &str, if_exists: bool) -> Result<()> {
        let is_kind = |object: &Temporary| {
            matches!((object, kind), (Temporary::Table(_), "table") | (Temporary::View(_), "view"))
        };
        let found = self.find(name).filter(|(_, object)| is_kind(object)).map(|(name, _)| name.clone());
        match found {
            Some(name) => {
                self.objects.remove(&name);
                Ok(())
            }
            None if if_exists => Ok(()),
            None => Err(Error::invalid(format!("there is no temporary {kind} `{}`", name[2]))),
        }
    }

    /// Fails if a temporary object hides what is to be dropped or changed.
    pub fn must_not_hide(&self, name: &[String; 3]) -> Result<()> {
        match self.find(name) {
            None => Ok(()),
            Some((name, object)) => {
                let kind = if matches!(object, Temporary::Table(_)) { "TABLE" } else { "VIEW" };
                Err(Error::invalid(format!(
                    "`{0}` is a temporary object, which hides the catalog's: DROP TEMPORARY {kind} `{0}` first",
                    name[2]
                )))
            }
        }
    }

    /// Puts another view in a temporary one's place; false if there is none.
    pub fn change_view(&mut self, name: &[String; 3], change: impl FnOnce(&ViewDefinition) -> ViewDefinition) -> bool {
        let Some(name) = self.find(name).map(|(name, _)| name.clone()) else { return false };
        match self.objects.get_mut(&name) {
            Some(Temporary::View(view)) => {
                *view = change(view);
                true
            }
            _ => false,
        }
    }

    /// Gives an object another name; false if there is none of this name.
    pub fn rename(&mut self, name: &[String; 3], to: [String; 3]) -> Result<bool> {
        let Some(name) = self.find(name).map(|(name, _)| name.clone()) else { return Ok(false) };
        if self.objects.contains_key(&to) {
            return Err(Error::invalid(format!("there is a temporary object `{}` already", to[2])));
        }
        if let Some(object) = self.objects.remove(&name) {
            self.objects.insert(to, object);
        }
        Ok(true)
    }

    /// The names in a database, of views only or of all.
    pub fn names(&self, catalog: &str, database: &str, views_only: bool) -> Vec<String> {
        self.objects
            .iter()
            .filter(|(name, object)| {
                name[0] == catalog && name[1] == database && (!views_only || matches!(object, Temporary::View(_)))
            })
            .map(|(name, _)| name[2].clone())
            .collect()
    }
}
