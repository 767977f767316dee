from tests.cluster.lab import SHARED, Lab


def test_hosts_have_what_is_theirs_and_share_a_folder_and_a_network(lab: Lab) -> None:
    lab.run("one", f"echo of one > {SHARED}/told; echo mine > /tmp/mine")
    seen = lab.run("two", f"hostname; cat {SHARED}/told; test -e /tmp/mine || echo not mine")
    assert seen.splitlines() == ["two", "of one", "not mine"]
    key = "/run/keys/id"
    ssh = f"ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    assert lab.run("launcher", f"{ssh} root@{lab.addresses['one']} cat /tmp/mine") == "mine\n"


def test_a_cable_is_pulled_and_put_back_and_a_host_switched_off_and_on(lab: Lab) -> None:
    reach = f"timeout 2 bash -c '</dev/tcp/{lab.addresses['two']}/22' 2>/dev/null && echo yes || echo no"
    assert lab.run("one", reach).splitlines()[-1] == "yes"
    lab.cut("two")
    assert lab.run("one", reach).splitlines()[-1] == "no"
    lab.plug("two")
    assert lab.run("one", reach).splitlines()[-1] == "yes"
    lab.kill("two")
    assert lab.run("one", reach).splitlines()[-1] == "no"
    lab.boot("two")
    assert lab.run("one", reach).splitlines()[-1] == "yes"
