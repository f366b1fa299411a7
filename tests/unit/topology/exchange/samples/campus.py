"""A campus for Mininet: two buildings behind a router."""

from mininet.node import Node
from mininet.topo import Topo


class LinuxRouter(Node):
    pass


class Campus(Topo):
    def build(self, hosts=2):
        gate = self.addNode('gate', cls=LinuxRouter, ip='10.0.0.1/24')
        for building in (1, 2):
            switch = self.addSwitch(f's{building}', protocols='OpenFlow13')
            self.addLink(switch, gate, bw=100, delay='2ms', jitter='500us', max_queue_size=50, use_htb=True)
            for number in range(1, hosts + 1):
                host = self.addHost(f'H{building}_{number}')
                self.addLink(host, switch, bw=10.5, delay=300, loss=0.5,
                             params1={'bw': 5}, params2={'loss': 2})


class Ring(Topo):
    def build(self, n=3):
        switches = [self.addSwitch(f's{i}') for i in range(1, n + 1)]
        for i, switch in enumerate(switches):
            self.addLink(switch, switches[(i + 1) % n])
            self.addLink(self.addHost(f'h{i + 1}'), switch, jitter='1ms')


topos = {'campus': Campus, 'ring': (lambda n=3: Ring(n=n))}

if __name__ == '__main__':
    raise SystemExit('never here')
