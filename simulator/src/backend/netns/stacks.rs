//! The stacks of a run: those that are to be made, and those that are, with their devices. What passes through the devices is not
//! looked at here.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::namespace::Namespace;
use super::poller::{Poller, Source};
use super::tun::Tun;
use super::{change, configure, failed, unknown};
use crate::backend::{BackendError, Blackhole, PortConfig, PortId, Stack, StackDevice, StackId};

/// All stacks. They are made together, so that their making takes none of the run's time.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    attached: Vec<Stack>,
    made: BTreeMap<StackId, Made>,
    devices: BTreeMap<PortId, Device>,
}

/// A stack that is made.
#[derive(Debug)]
struct Made {
    name: Arc<str>,
    namespace: Namespace,
    blackholes: Vec<Blackhole>,
}

/// A device of a stack that is made.
#[derive(Debug)]
pub(super) struct Device {
    stack: StackId,
    pub(super) name: Arc<str>,
    config: PortConfig,
    pub(super) tun: Tun,
}

impl Stacks {
    /// Adds a stack to those that are to be made.
    pub(super) fn attach(&mut self, stack: Stack) {
        self.attached.push(stack);
    }

    /// Makes all stacks that were attached and are not made yet, and has their devices watched.
    ///
    /// # Errors
    /// If the kernel refuses a namespace, a device, an address or a route.
    pub(super) fn make(&mut self, poller: &Poller) -> Result<(), BackendError> {
        if self.attached.is_empty() {
            return Ok(());
        }
        for made in configure::make(std::mem::take(&mut self.attached))? {
            let stack = made.stack.id;
            for ((port, tun), device) in made.devices.into_iter().zip(made.stack.devices) {
                let watched = poller.watch(tun.as_fd(), Source::Port(port));
                watched.map_err(failed("watch a device"))?;
                let (name, config) = (device.name, device.config);
                let device = Device {
                    stack,
                    name,
                    config,
                    tun,
                };
                self.devices.insert(port, device);
            }
            let (name, blackholes) = (made.stack.name, made.stack.blackholes);
            let namespace = made.namespace;
            let made = Made {
                name,
                namespace,
                blackholes,
            };
            self.made.insert(stack, made);
        }
        Ok(())
    }

    /// Gives a stack what it is to have from now on, made or not.
    ///
    /// # Errors
    /// If there is no such stack, it has no such port, or the kernel refuses a change.
    pub(super) fn configure(&mut self, stack: Stack) -> Result<(), BackendError> {
        if let Some(attached) = self.attached.iter_mut().find(|attached| attached.id == stack.id) {
            *attached = stack;
            return Ok(());
        }
        let made = self.made.get_mut(&stack.id);
        let made = made.ok_or_else(|| unknown(format!("configure stack {}", stack.id.0)))?;
        let mut changes = Vec::with_capacity(stack.devices.len());
        for StackDevice { port, config, .. } in &stack.devices {
            let device = self.devices.get(port).filter(|device| device.stack == stack.id);
            let device = device.ok_or_else(|| unknown(format!("configure port {} of {}", port.0, made.name)))?;
            if device.config != *config {
                changes.push(change::DeviceChange {
                    name: &device.name,
                    old: &device.config,
                    new: config,
                });
            }
        }
        if changes.is_empty() && made.blackholes == stack.blackholes {
            return Ok(());
        }
        change::apply(&made.namespace, &changes, (&made.blackholes, &stack.blackholes))?;
        made.blackholes = stack.blackholes;
        for StackDevice { port, config, .. } in stack.devices {
            if let Some(device) = self.devices.get_mut(&port) {
                device.config = config;
            }
        }
        Ok(())
    }

    /// Forgets a stack. Its namespace and devices go with their descriptors.
    pub(super) fn detach(&mut self, id: StackId) {
        self.attached.retain(|stack| stack.id != id);
        self.devices.retain(|_, device| device.stack != id);
        self.made.remove(&id);
    }

    /// Moves the calling thread into the network namespace of a stack.
    ///
    /// # Errors
    /// If the stack is not made, or the kernel refuses.
    pub(super) fn enter(&self, id: StackId) -> Result<(), BackendError> {
        let made = self.made.get(&id).ok_or_else(|| unknown(format!("enter stack {}", id.0)))?;
        let what = format!("enter the network namespace of {}", made.name);
        made.namespace.enter().map_err(failed(what))
    }

    /// The network namespace of a stack that is made.
    pub(super) fn namespace(&self, id: StackId) -> Option<BorrowedFd<'_>> {
        self.made.get(&id).map(|made| made.namespace.as_fd())
    }

    /// A device of a stack that is made.
    pub(super) fn device(&self, port: PortId) -> Option<&Device> {
        self.devices.get(&port)
    }

    /// The same, to write to it.
    pub(super) fn device_mut(&mut self, port: PortId) -> Option<&mut Device> {
        self.devices.get_mut(&port)
    }

    /// Whether any stack that is made has a device.
    pub(super) fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }
}
