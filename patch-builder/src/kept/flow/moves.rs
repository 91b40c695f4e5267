//! What one instruction does with addresses: what it reads goes to what it writes.

use iced_x86::{Code, Instruction, Mnemonic, OpAccess, OpKind, Register};

use super::super::state::{Label, Labels, RSP, State, number};
use super::{Flow, Step, Way};

impl Flow<'_> {
    /// Where the memory of an instruction is, and its place in the frame if that is certain.
    fn place(step: &Step, state: &State) -> (Labels, Option<i64>) {
        let one = &step.instruction;
        let (base, index) = (one.memory_base(), one.memory_index());
        if number(base) == Some(RSP) {
            let offset = one.memory_displacement64().cast_signed();
            let exact = state.depth.filter(|_| index == Register::None);
            return ([Label::Frame].into(), exact.and_then(|depth| depth.checked_add(offset)));
        }
        let mut labels = step.memory.clone();
        labels.extend(state.register(base));
        labels.extend(state.register(index));
        (labels, None)
    }

    fn load(&self, step: &Step, state: &State) -> Labels {
        match Self::place(step, state) {
            (_, Some(slot)) => {
                let mut labels = state.slots.get(&slot).cloned().unwrap_or_default();
                labels.extend(&state.somewhere);
                labels
            }
            (labels, None) => self.contents(&labels, state),
        }
    }

    pub(super) fn compute(&mut self, step: &Step, state: &mut State) {
        let one = &step.instruction;
        match one.mnemonic() {
            Mnemonic::Push => {
                let labels = self.value(step, 0, state);
                return state.push(labels);
            }
            Mnemonic::Pop if one.op0_kind() == OpKind::Register => {
                let labels = state.pop();
                return state.set(one.op0_register(), labels);
            }
            Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsd | Mnemonic::Movsq => {
                let contents = self.contents(&state.register(Register::RSI), state);
                let to = state.register(Register::RDI);
                return self.store(&to, &contents, &Way::Stored, state);
            }
            Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => {
                if one.mnemonic() == Mnemonic::Stosq {
                    let labels = state.register(Register::RAX);
                    let to = state.register(Register::RDI);
                    self.store(&to, &labels, &Way::Stored, state);
                }
                return state.set(Register::RCX, Labels::new());
            }
            Mnemonic::Pushfq => return state.push(Labels::new()),
            Mnemonic::Popfq => {
                state.pop();
                return;
            }
            Mnemonic::Leave | Mnemonic::Enter => return state.lose_depth(),
            Mnemonic::Nop | Mnemonic::Endbr64 => return,
            _ => {}
        }
        if writes_stack_pointer(one) {
            return Self::move_stack(one, state);
        }
        self.assign(step, state);
    }

    fn move_stack(one: &Instruction, state: &mut State) {
        let by = match (one.mnemonic(), one.op1_kind()) {
            (Mnemonic::Sub, OpKind::Immediate8to64 | OpKind::Immediate32to64) => {
                one.immediate(1).cast_signed().checked_neg()
            }
            (Mnemonic::Add, OpKind::Immediate8to64 | OpKind::Immediate32to64) => {
                Some(one.immediate(1).cast_signed())
            }
            (Mnemonic::Lea, OpKind::Memory)
                if number(one.memory_base()) == Some(RSP)
                    && one.memory_index() == Register::None =>
            {
                Some(one.memory_displacement64().cast_signed())
            }
            _ => None,
        };
        match state.depth.zip(by).and_then(|(depth, by)| depth.checked_add(by)) {
            Some(depth) => state.depth = Some(depth),
            None => state.lose_depth(),
        }
    }

    /// What an operand has.
    fn value(&self, step: &Step, operand: u32, state: &State) -> Labels {
        let one = &step.instruction;
        match one.op_kind(operand) {
            OpKind::Register => state.register(one.op_register(operand)),
            OpKind::Memory if one.mnemonic() == Mnemonic::Lea => {
                let mut labels = Self::place(step, state).0;
                labels.remove(&Label::Frame);
                let uses_frame = [one.memory_base(), one.memory_index()]
                    .iter()
                    .any(|register| state.register(*register).contains(&Label::Frame));
                labels.extend(uses_frame.then_some(Label::Frame));
                labels
            }
            OpKind::Memory if one.memory_size().size() >= 8 => self.load(step, state),
            OpKind::Memory => Labels::new(),
            _ => step.constant.clone(),
        }
    }

    /// Any other instruction: what it reads goes to what it writes.
    fn assign(&mut self, step: &Step, state: &mut State) {
        let one = &step.instruction;
        let information = self.information.info(one).clone();
        let access: Vec<OpAccess> =
            (0..one.op_count()).map(|operand| information.op_access(operand)).collect();
        let reads = |access: OpAccess| {
            matches!(
                access,
                OpAccess::Read
                    | OpAccess::CondRead
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
                    | OpAccess::CondWrite
            )
        };
        let writes = |access: OpAccess| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        let mut value = Labels::new();
        if !is_zeroing(one) {
            for (operand, access) in (0..).zip(&access) {
                if reads(*access) || one.code() == Code::Lea_r64_m && operand == 1 {
                    value.extend(self.value(step, operand, state));
                }
            }
        }
        for used in information.used_registers() {
            if writes(used.access()) {
                // Half a register of four bytes clears the other half.
                let is_part = used.register().size() < 8;
                let labels = if is_part { Labels::new() } else { value.clone() };
                let whole = used.register().full_register();
                if used.register().size() >= 4 {
                    state.set(whole, labels);
                }
            }
        }
        for (operand, access) in (0..).zip(access) {
            let is_memory = one.op_kind(operand) == OpKind::Memory && writes(access);
            if !is_memory {
                continue;
            }
            let labels = if one.memory_size().size() >= 8 { value.clone() } else { Labels::new() };
            let is_whole = one.memory_size().size() == 8 && access == OpAccess::Write;
            match Self::place(step, state) {
                (_, Some(slot)) if is_whole => {
                    state.slots.insert(slot, labels);
                }
                (_, Some(slot)) => state.slots.entry(slot).or_default().extend(labels),
                (to, None) => self.store(&to, &labels, &Way::Stored, state),
            }
        }
    }
}

fn writes_stack_pointer(one: &Instruction) -> bool {
    let is_to_it = one.op_count() > 0
        && one.op0_kind() == OpKind::Register
        && number(one.op0_register()) == Some(RSP);
    is_to_it && !matches!(one.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
}

/// `xor %reg, %reg` and its like.
fn is_zeroing(one: &Instruction) -> bool {
    matches!(one.mnemonic(), Mnemonic::Xor | Mnemonic::Sub)
        && one.op0_kind() == OpKind::Register
        && one.op1_kind() == OpKind::Register
        && one.op0_register() == one.op1_register()
}
