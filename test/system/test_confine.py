# SPDX-License-Identifier: PostgreSQL
"""The agent's system call filter: everything the agent does passes, and what it has no use for does not,
not even when its own registers say so: a debugger puts the call into the running process."""
import ctypes
import json
import os
import pathlib
import platform
import signal
import subprocess

import pytest

from conftest import BIN, clean_environment
from test_first_light import OwnAgent

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86_64")

REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base"
             " ds es fs gs").split()
CALLS = {"execve": (59, 0, 0, 0), "ptrace": (101, 16, 1, 0), "fork": (57, 0, 0, 0), "kill": (62, 1, 0, 0),
         "socket of packets": (41, 17, 3, 0), "executable memory": (9, 0, 4096, 7), "mount": (165, 0, 0, 0),
         "setuid": (105, 0, 0, 0), "io_uring": (425, 1, 0, 0), "x32": (0x40000000 | 1, 0, 0, 0),
         "process_vm_readv": (310, 1, 0, 0), "bpf": (321, 0, 0, 0), "prlimit": (302, 0, 7, 4096)}


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in REGISTERS]


class Debugger:
    """Holds a process that waits in a system call."""

    GETREGS, SETREGS, CONT, ATTACH, DETACH, SYSCALL, SINGLESTEP = 12, 13, 7, 16, 17, 24, 9

    def __init__(self, pid):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long
        self.pid = pid
        self.do(self.ATTACH)
        self.stopped()

    def do(self, what, data=None):
        if self.libc.ptrace(what, self.pid, None, data) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def stopped(self):
        """The signal it stopped with; negative when it ended by one."""
        _, status = os.waitpid(self.pid, 0)
        return os.WSTOPSIG(status) if os.WIFSTOPPED(status) else -os.WTERMSIG(status)

    def get(self):
        registers = Registers()
        self.do(self.GETREGS, ctypes.byref(registers))
        return registers

    def inject(self, number, first, second, third):
        """Makes it execute its own system call instruction with other registers; the stop behind it."""
        self.kept = self.get()
        there = Registers.from_buffer_copy(self.kept)
        there.rax, there.rdi, there.rsi, there.rdx = number, first, second, third
        there.r10, there.r8, there.r9 = 34, 2 ** 64 - 1, 0
        there.rip, there.orig_rax = self.kept.rip - 2, 2 ** 64 - 1
        self.do(self.SETREGS, ctypes.byref(there))
        self.do(self.SINGLESTEP)
        return self.stopped()

    def result_after_handler(self):
        """Lets the handler of SIGSYS run; what the call returned, as a signed number."""
        self.do(self.SYSCALL, signal.SIGSYS)
        while True:
            self.stopped()
            if self.get().orig_rax == 15:  # rt_sigreturn
                break
            self.do(self.SYSCALL)
        self.do(self.SYSCALL)
        self.stopped()
        return ctypes.c_longlong(self.get().rax).value

    def let_go(self):
        self.do(self.SETREGS, ctypes.byref(self.kept))
        self.do(self.DETACH)


@pytest.fixture
def agent(stack, tmp_path):
    made = []

    def make(name, mode, tests=1):
        one = OwnAgent(stack, tmp_path, name, tests)
        one.settings(tests, "seccomp: %s\n" % mode)
        one.start()
        made.append(one)
        one.wait(lambda: one.metrics().get("probectl_agent_connected") == 1, 30, "the agent is registered")
        return one

    yield make
    for one in made:
        one.stop()


def waits_in_the_loop(agent):
    return pathlib.Path("/proc/%d/syscall" % agent.process.pid).read_text().split()[0] in ("232", "281")


def hold(agent):
    agent.wait(lambda: waits_in_the_loop(agent), 10, "the agent waits")
    return Debugger(agent.process.pid)


@pytest.mark.parametrize("call", ["execve", "ptrace"])
def test_forbidden_call_ends_the_agent(agent, call):
    one = agent("killed " + call, "kill")
    status = pathlib.Path("/proc/%d/status" % one.process.pid).read_text()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    assert hold(one).inject(*CALLS[call]) == -signal.SIGSYS


def test_forbidden_calls_are_refused_and_named_in_log_mode(agent):
    one = agent("logged", "log")
    for name, call in CALLS.items():
        debugger = hold(one)
        assert debugger.inject(*call) == signal.SIGSYS, name
        assert debugger.result_after_handler() == -1, name  # -EPERM
        debugger.let_go()
        assert "seccomp: system call %d refused" % call[0] in one.log.read_text(), name
    stored = one.stored()[0]
    one.wait(lambda: one.stored()[0] > stored + 2, 20, "the agent measures on")


def test_everything_the_agent_does_passes(stack, agent):
    """Enrolment, results, rotation, settings read again, a lost link, the end: no call is missed."""
    one = agent("full", "log", 3)
    first = os.readlink(one.folder / "identity" / "current")
    one.wait(lambda: one.stored()[0] > 6, 20, "results")
    one.process.send_signal(signal.SIGUSR1)
    one.wait(lambda: os.readlink(one.folder / "identity" / "current") != first, 20, "a new certificate")
    one.link.cut()
    one.wait(lambda: one.metrics().get("probectl_agent_connected") == 0, 20, "the link is lost")
    one.wait(lambda: one.backlog() > 3, 20, "results are kept")
    one.link.mend()
    one.wait(lambda: one.metrics().get("probectl_agent_connected") == 1, 60, "the link is back")
    one.settings(2, "seccomp: log\n")
    one.process.send_signal(signal.SIGHUP)
    one.wait(lambda: one.metrics().get("probectl_agent_tests") == 2, 10, "settings are read again")
    assert one.stop() == 0
    assert "seccomp" not in one.log.read_text()


@pytest.mark.parametrize("words", [
    ("icmp", "127.0.0.1"), ("icmp", "::1"), ("tcp", "127.0.0.1:1"), ("tcp", "name.invalid:80"),
    ("http", "{url}/healthz", "--param", "ca_file={ca}"), ("http", "{url}/healthz"),
    ("dns", "name.invalid", "--param", "server=127.0.0.1:1"),
    ("dns", "name.invalid", "--param", "server={host}", "--param", "transport=doh", "--param", "ca_file={ca}"),
    ("dns", "name.invalid", "--param", "server={host}", "--param", "transport=tcp", "--param", "timeout=500")])
def test_every_canary_passes(stack, words):
    words = [w.format(url=stack.url, ca=stack.ca, host=stack.gateway_listen) for w in words]
    for mode in ("log", "kill"):
        done = subprocess.run([BIN / "probectl-agent", "--once", *words, "--json", "--seccomp=" + mode], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, env=clean_environment(), timeout=30)
        assert done.returncode in (0, 1), done
        assert "seccomp" not in done.stderr
        json.loads(done.stdout)


def test_mode_must_be_one_that_there_is():
    done = subprocess.run([BIN / "probectl-agent", "--seccomp=maybe", "--check-config"], text=True, capture_output=True,
                          env=clean_environment())
    assert done.returncode == 2 and "seccomp" in done.stderr and "kill" in done.stderr, done
